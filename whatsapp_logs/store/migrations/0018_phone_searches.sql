-- What somebody searches for is kept here for half a day, and a word for it travels in addresses: no number in an address or a cookie.

CREATE TABLE whatsapp_logs.phone_searches (
    token   text PRIMARY KEY,
    person  text NOT NULL,
    phone   text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX phone_searches_made ON whatsapp_logs.phone_searches (made_at);
COMMENT ON INDEX whatsapp_logs.phone_searches_made IS 'Which searches are over and forgotten?';
CREATE INDEX phone_searches_person ON whatsapp_logs.phone_searches (person, made_at DESC);
COMMENT ON INDEX whatsapp_logs.phone_searches_person IS 'Has somebody searched for the same just now?';
