-- Looks of one kind, newest first: what is rare was looked for among all looks there are.
LOCK TABLE whatsapp_logs.accesses IN ACCESS EXCLUSIVE MODE;
CREATE INDEX accesses_act ON whatsapp_logs.accesses (act, at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.accesses_act IS 'Who has exported, who has used a link; and which exports may have held somebody''s messages.';
DROP INDEX whatsapp_logs.accesses_exported;
