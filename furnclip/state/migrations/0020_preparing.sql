CREATE TABLE prep_run (
    out VARCHAR NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    csv VARCHAR NOT NULL,
    image_root VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    result JSON NOT NULL
);

CREATE TABLE prep_picture (
    out VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    file_size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    recipe VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    message VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    dhash BLOB NOT NULL,
    thumbnail BLOB NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    mode VARCHAR NOT NULL,
    frames INTEGER NOT NULL,
    recovered BOOLEAN NOT NULL,
    file VARCHAR NOT NULL,
    "offset" BIGINT NOT NULL,
    size BIGINT NOT NULL,
    crc BIGINT NOT NULL
);

CREATE TABLE prep_group (
    out VARCHAR NOT NULL,
    scheme VARCHAR NOT NULL,
    grp VARCHAR NOT NULL,
    split VARCHAR NOT NULL
);

CREATE TABLE prep_shard (
    out VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    samples BIGINT NOT NULL,
    size BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL
);

CREATE TABLE prep_reject (
    out VARCHAR NOT NULL,
    number BIGINT NOT NULL,
    product_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    message VARCHAR NOT NULL
);
