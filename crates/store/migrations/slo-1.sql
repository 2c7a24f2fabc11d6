-- The account of availability. Minutes and hours are on its own axis, which begins as
-- milliseconds since the Unix epoch and goes on by the time that has really passed.

-- Who keeps it, and all clocks when it was last written.
CREATE TABLE account (
  one           INTEGER PRIMARY KEY CHECK (one = 1),
  writer        TEXT NOT NULL,
  epoch         INTEGER NOT NULL,
  taken_boot_ms INTEGER NOT NULL,  -- when it was taken over
  axis_ms       INTEGER,           -- NULL before it was ever kept
  boot          TEXT NOT NULL,
  boot_ms       INTEGER NOT NULL,
  wall_ms       INTEGER NOT NULL
) STRICT;
INSERT INTO account VALUES (1, '', 0, 0, NULL, '', 0, 0);

CREATE TABLE service (
  name       TEXT PRIMARY KEY,
  since_ms   INTEGER NOT NULL,
  good       INTEGER NOT NULL DEFAULT 0,
  bad        INTEGER NOT NULL DEFAULT 0,
  in_time    INTEGER NOT NULL DEFAULT 0,
  good_down  INTEGER NOT NULL DEFAULT 0,
  up_ms      INTEGER NOT NULL DEFAULT 0,
  down_ms    INTEGER NOT NULL DEFAULT 0,
  planned_ms INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The same by time: each addition goes to its minute, its hour and its service at once.
CREATE TABLE minute (
  service    TEXT NOT NULL,
  at         INTEGER NOT NULL,
  good       INTEGER NOT NULL,
  bad        INTEGER NOT NULL,
  in_time    INTEGER NOT NULL,
  good_down  INTEGER NOT NULL,
  up_ms      INTEGER NOT NULL,
  down_ms    INTEGER NOT NULL,
  planned_ms INTEGER NOT NULL,
  PRIMARY KEY (service, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE hour (
  service    TEXT NOT NULL,
  at         INTEGER NOT NULL,
  good       INTEGER NOT NULL,
  bad        INTEGER NOT NULL,
  in_time    INTEGER NOT NULL,
  good_down  INTEGER NOT NULL,
  up_ms      INTEGER NOT NULL,
  down_ms    INTEGER NOT NULL,
  planned_ms INTEGER NOT NULL,
  PRIMARY KEY (service, at)
) STRICT, WITHOUT ROWID;
