CREATE TABLE arena_vote (
    event VARCHAR PRIMARY KEY,
    session VARCHAR NOT NULL,
    sequence INTEGER NOT NULL,
    voted_at TIMESTAMPTZ NOT NULL,
    rater VARCHAR NOT NULL,
    query VARCHAR NOT NULL,
    baseline VARCHAR NOT NULL,
    challenger VARCHAR NOT NULL,
    baseline_sha VARCHAR NOT NULL,
    challenger_sha VARCHAR NOT NULL,
    choice VARCHAR NOT NULL,
    baseline_is_row_a BOOLEAN NOT NULL,
    automatic BOOLEAN NOT NULL,
    repeated BOOLEAN NOT NULL,
    seconds DOUBLE,
    graphics VARCHAR NOT NULL,
    thumbnail_width INTEGER NOT NULL,
    thumbnail_height INTEGER NOT NULL,
    shown INTEGER NOT NULL,
    seed BIGINT NOT NULL
);

CREATE TABLE arena_undo (
    event VARCHAR PRIMARY KEY,
    undoes VARCHAR NOT NULL,
    undone_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE arena_journal (
    name VARCHAR PRIMARY KEY,
    merged_bytes BIGINT NOT NULL
);
