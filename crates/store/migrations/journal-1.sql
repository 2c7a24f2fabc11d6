-- The journal of recovery. Times are milliseconds since the Unix epoch. Every row says who
-- wrote it, and under which epoch.

-- Who may write: whoever took it over last.
CREATE TABLE owner (
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  writer TEXT NOT NULL,
  epoch  INTEGER NOT NULL
) STRICT;
INSERT INTO owner VALUES (1, '', 0);

-- Each row's hash covers the one before it: a changed or removed row shows.
CREATE TABLE row (
  seq             INTEGER PRIMARY KEY,
  at              INTEGER NOT NULL,
  incident        TEXT,
  kind            TEXT NOT NULL,
  text            TEXT NOT NULL,
  incident_digest BLOB,         -- of the state that it leads to
  standing_digest BLOB,
  writer          TEXT NOT NULL,
  epoch           INTEGER NOT NULL,
  hash            BLOB NOT NULL
) STRICT;
CREATE INDEX row_of_incident ON row (incident, seq);

-- Where the chain begins (what is before was deleted as too old) and ends.
CREATE TABLE chain (
  one       INTEGER PRIMARY KEY CHECK (one = 1),
  base_seq  INTEGER NOT NULL,
  base_hash BLOB NOT NULL,
  head_seq  INTEGER NOT NULL,
  head_hash BLOB NOT NULL
) STRICT;
INSERT INTO chain VALUES (1, 0, zeroblob(32), 0, zeroblob(32));

-- The last state of each incident, and of what stands beside them.
CREATE TABLE incident (
  id       TEXT PRIMARY KEY,
  first    INTEGER NOT NULL,
  last     INTEGER NOT NULL,
  open     INTEGER NOT NULL,
  state    TEXT NOT NULL       -- JSON
) STRICT;
CREATE INDEX incident_by_first ON incident (first);

CREATE TABLE standing (
  one   INTEGER PRIMARY KEY CHECK (one = 1),
  last  INTEGER NOT NULL,
  state TEXT NOT NULL          -- JSON
) STRICT;
