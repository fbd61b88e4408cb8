-- Programs that read the API: each with a token of its own, known here only as a hash, for some rights, until some day.

CREATE TABLE whatsapp_logs.api_tokens (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL,              -- what it is for, as people call it
    token_hash     bytea NOT NULL,             -- SHA-256; 256 random bits need no salt
    rights         text[] NOT NULL,
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    last_used_at   timestamptz,                -- to the minute
    last_used_from text,
    revoked_at     timestamptz,
    revoked_by     text
);
CREATE UNIQUE INDEX api_tokens_hash ON whatsapp_logs.api_tokens (token_hash);
COMMENT ON INDEX whatsapp_logs.api_tokens_hash IS 'Whose token a call carries.';
