-- The office: its people and their sign-ins, its clients, their policies, and papers uploaded for renewals.

CREATE TABLE people (
    user_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      text NOT NULL CHECK (username = lower(username)),
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('administrator', 'agent', 'compliance', 'viewer')),
    password_hash text NOT NULL,
    timezone      text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX people_username ON people (username);

-- A sign-in lives here, not in the cookie: signing out ends it, even where somebody kept a copy of the cookie.
CREATE TABLE sign_ins (
    token_hash bytea PRIMARY KEY,
    user_id    integer NOT NULL REFERENCES people (user_id) ON DELETE CASCADE,
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_ins_expires ON sign_ins (expires_at);

-- Guesses at passwords. Losing them in a crash is harmless, so they need no write-ahead log.
CREATE UNLOGGED TABLE sign_in_attempts (
    who        text NOT NULL,
    started_at timestamptz NOT NULL,
    n          integer NOT NULL,
    PRIMARY KEY (who, started_at)
);

CREATE TABLE clients (
    client_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    phone      text NOT NULL,               -- E.164
    email      text,
    address    text NOT NULL,               -- lines as on an envelope
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX clients_name ON clients (lower(name), client_id);
COMMENT ON INDEX clients_name IS 'A page of clients in order of their names (keyset).';
CREATE INDEX clients_phone ON clients (phone);

CREATE TABLE policies (
    policy_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id     integer NOT NULL REFERENCES clients (client_id),
    policy_number text NOT NULL UNIQUE,
    product       text NOT NULL CHECK (product IN ('motor', 'home', 'travel', 'health', 'life', 'business')),
    insurer       text NOT NULL,
    insured       text NOT NULL,            -- what is covered: the car, the house, the trip
    sum_insured   numeric(14, 2) NOT NULL CHECK (sum_insured >= 0),
    excess        numeric(14, 2) NOT NULL CHECK (excess >= 0),
    premium       numeric(12, 2) NOT NULL CHECK (premium >= 0),
    currency      text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    starts_on     date NOT NULL,
    ends_on       date NOT NULL,            -- last day of cover, included; renewal is due on it
    status        text NOT NULL CHECK (status IN ('active', 'lapsed', 'cancelled')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (starts_on <= ends_on)
);
CREATE INDEX policies_client ON policies (client_id);
CREATE INDEX policies_renewal ON policies (ends_on, policy_id) WHERE status = 'active';
COMMENT ON INDEX policies_renewal IS 'Which policies are due for renewal, soonest first?';

CREATE TABLE renewal_documents (
    document_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    policy_id    integer NOT NULL REFERENCES policies (policy_id) ON DELETE CASCADE,
    filename     text NOT NULL,
    content_type text NOT NULL,
    content      bytea NOT NULL,
    sha256       bytea NOT NULL,
    uploaded_by  text NOT NULL,
    uploaded_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (policy_id, sha256)              -- the same file uploaded twice is one document
);

-- Supabase shows `public` to the web: nothing of the office may be read there.
DO $$
DECLARE stranger text;
BEGIN
    FOREACH stranger IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = stranger) THEN
            EXECUTE format('REVOKE ALL ON portal_migrations, people, sign_ins, sign_in_attempts, clients, policies, renewal_documents FROM %I', stranger);
        END IF;
    END LOOP;
END $$;
