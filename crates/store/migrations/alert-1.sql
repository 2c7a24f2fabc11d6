-- Alerts: what fires, who was told, what is still to be sent, and what happened.

-- Who keeps them.
CREATE TABLE keeper (
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  writer TEXT NOT NULL,
  epoch  INTEGER NOT NULL
) STRICT;
INSERT INTO keeper VALUES (1, '', 0);

-- alert, group, silence, message: each as JSON.
CREATE TABLE doc (
  kind TEXT NOT NULL,
  key  TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE past (
  seq   INTEGER PRIMARY KEY,
  at    INTEGER NOT NULL,
  alert TEXT NOT NULL,
  kind  TEXT NOT NULL,
  text  TEXT NOT NULL
) STRICT;
