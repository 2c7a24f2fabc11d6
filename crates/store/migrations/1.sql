-- Files, batches and the answers to their lines. Times are milliseconds since the Unix
-- epoch. Every row says who wrote it last, and under which epoch of the lease.

CREATE TABLE lease (
  name       TEXT PRIMARY KEY,
  holder     TEXT,              -- NULL: given back
  epoch      INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
INSERT INTO lease VALUES ('batch', NULL, 0, 0);

-- A value that only the right key opens.
CREATE TABLE key_check (
  salt  BLOB NOT NULL,
  value BLOB NOT NULL
) STRICT;

CREATE TABLE file (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT NOT NULL UNIQUE,
  owner       TEXT NOT NULL,
  state       INTEGER NOT NULL, -- 0 coming, 1 there, 2 gone
  filename    TEXT NOT NULL,
  purpose     TEXT NOT NULL,
  bytes       INTEGER NOT NULL,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER,
  touched_at  INTEGER NOT NULL,
  fence_epoch INTEGER,          -- of an output that is coming: under which lease
  salt        BLOB,             -- NULL: its content is not sealed
  writer      TEXT NOT NULL,
  epoch       INTEGER NOT NULL
) STRICT;
CREATE INDEX file_by_owner ON file (owner, seq);

CREATE TABLE piece (
  file INTEGER NOT NULL REFERENCES file (seq),
  idx  INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (file, idx)
) STRICT;

CREATE TABLE batch (
  seq           INTEGER PRIMARY KEY AUTOINCREMENT,
  id            TEXT NOT NULL UNIQUE,
  owner         TEXT NOT NULL,
  endpoint      TEXT NOT NULL,
  input         TEXT NOT NULL,
  window        TEXT NOT NULL,
  metadata      TEXT,           -- JSON object
  output_ttl    INTEGER,
  status        TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  expires_at    INTEGER NOT NULL,
  in_progress_at INTEGER,
  finalizing_at INTEGER,
  completed_at  INTEGER,
  failed_at     INTEGER,
  expired_at    INTEGER,
  cancelling_at INTEGER,
  cancelled_at  INTEGER,
  over_at       INTEGER,        -- whichever of these ended it
  total         INTEGER NOT NULL DEFAULT 0,
  completed     INTEGER NOT NULL DEFAULT 0,
  failed        INTEGER NOT NULL DEFAULT 0,
  input_tokens  INTEGER NOT NULL DEFAULT 0,
  cached_tokens INTEGER NOT NULL DEFAULT 0,
  output_tokens INTEGER NOT NULL DEFAULT 0,
  reasoning_tokens INTEGER NOT NULL DEFAULT 0,
  model         TEXT,
  errors        TEXT,           -- JSON array
  output_file   TEXT,
  error_file    TEXT,
  answer_bytes  INTEGER NOT NULL DEFAULT 0,
  swept         INTEGER NOT NULL DEFAULT 0, -- its answers are deleted
  salt          BLOB,           -- NULL: its answers are not sealed
  writer        TEXT NOT NULL,
  epoch         INTEGER NOT NULL
) STRICT;
CREATE INDEX batch_by_owner ON batch (owner, seq);
CREATE INDEX batch_open ON batch (seq) WHERE over_at IS NULL;
CREATE INDEX batch_over ON batch (over_at) WHERE over_at IS NOT NULL;

-- The primary key is what answers a line once.
CREATE TABLE answer (
  batch            INTEGER NOT NULL REFERENCES batch (seq),
  idx              INTEGER NOT NULL,
  request_id       TEXT NOT NULL,
  status           INTEGER,     -- HTTP; NULL: an error, and body is its message
  code             TEXT,
  body             BLOB NOT NULL,
  input_tokens     INTEGER NOT NULL,
  cached_tokens    INTEGER NOT NULL,
  output_tokens    INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  writer           TEXT NOT NULL,
  epoch            INTEGER NOT NULL,
  PRIMARY KEY (batch, idx)
) STRICT;
