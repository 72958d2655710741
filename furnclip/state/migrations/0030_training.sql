CREATE TABLE training_run (
    run_id VARCHAR PRIMARY KEY,
    scenario VARCHAR NOT NULL,
    base VARCHAR NOT NULL,
    data VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    settings JSON NOT NULL,
    status VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at TIMESTAMPTZ,
    seconds DOUBLE,
    best_epoch INTEGER,
    model_path VARCHAR,
    metrics JSON
);
CREATE TABLE training_step (
    run_id VARCHAR NOT NULL,
    step INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    loss DOUBLE NOT NULL,
    lr DOUBLE NOT NULL,
    grad_norm DOUBLE NOT NULL,
    logit_scale DOUBLE NOT NULL,
    pairs_per_second DOUBLE NOT NULL,
    memory_mib DOUBLE NOT NULL
);
CREATE TABLE training_epoch (
    run_id VARCHAR NOT NULL,
    epoch INTEGER NOT NULL,
    metrics JSON NOT NULL
);
