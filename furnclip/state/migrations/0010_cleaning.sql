CREATE TABLE cleaning_run (
    run VARCHAR NOT NULL,
    prepared_at TIMESTAMPTZ NOT NULL,
    csv VARCHAR NOT NULL,
    csv_sha256 VARCHAR NOT NULL,
    image_root VARCHAR NOT NULL,
    title_column VARCHAR NOT NULL,
    image_column VARCHAR NOT NULL,
    id_column VARCHAR,
    backend VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    base_url VARCHAR,
    folder VARCHAR NOT NULL,
    row_count INTEGER NOT NULL
);

CREATE TABLE cleaning_source_row (
    run VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    title VARCHAR NOT NULL,
    image VARCHAR NOT NULL,
    request_key VARCHAR,
    status VARCHAR NOT NULL,
    error VARCHAR
);

CREATE TABLE cleaning_request (
    request_key VARCHAR NOT NULL,
    custom_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    token_factor INTEGER NOT NULL,
    error VARCHAR
);

CREATE TABLE cleaning_part (
    part VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    bytes BIGINT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens BIGINT NOT NULL,
    usd DOUBLE,
    model VARCHAR NOT NULL,
    backend VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    file_id VARCHAR,
    error VARCHAR,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE cleaning_part_request (
    part VARCHAR NOT NULL,
    request_key VARCHAR NOT NULL,
    line INTEGER NOT NULL,
    byte_offset BIGINT NOT NULL,
    byte_length BIGINT NOT NULL
);

CREATE TABLE cleaning_submit_attempt (
    attempt VARCHAR NOT NULL,
    part VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    outcome VARCHAR NOT NULL,
    batch_id VARCHAR,
    detail VARCHAR
);

CREATE TABLE cleaning_batch (
    batch_id VARCHAR NOT NULL,
    part VARCHAR NOT NULL,
    run VARCHAR NOT NULL,
    backend VARCHAR NOT NULL,
    base_url VARCHAR,
    key_fingerprint VARCHAR,
    model VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    input_file_id VARCHAR,
    output_file_id VARCHAR,
    error_file_id VARCHAR,
    total INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    errors JSON,
    est_usd DOUBLE,
    input_tokens BIGINT,
    cached_tokens BIGINT,
    output_tokens BIGINT,
    usd DOUBLE,
    harvested BOOLEAN NOT NULL,
    submitted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE cleaning_result (
    batch_id VARCHAR NOT NULL,
    custom_id VARCHAR NOT NULL,
    request_key VARCHAR,
    outcome VARCHAR NOT NULL,
    error VARCHAR,
    raw VARCHAR,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE cleaning_cleaned (
    request_key VARCHAR NOT NULL,
    clean_title VARCHAR NOT NULL,
    style VARCHAR,
    material VARCHAR,
    color VARCHAR,
    object_type VARCHAR
);

CREATE TABLE cleaning_anomaly (
    batch_id VARCHAR NOT NULL,
    custom_id VARCHAR,
    kind VARCHAR NOT NULL,
    detail VARCHAR,
    seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
