CREATE TABLE event (
    happened_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    stage VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    subject VARCHAR,
    detail JSON
);
