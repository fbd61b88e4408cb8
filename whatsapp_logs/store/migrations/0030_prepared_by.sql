-- Who has ever changed a campaign or asked for its release has prepared it, and somebody else releases it. Only who began it, who
-- changed it last and who asked last were known.
ALTER TABLE whatsapp_logs.campaigns ADD COLUMN prepared_by text[] NOT NULL DEFAULT '{}';
UPDATE whatsapp_logs.campaigns SET prepared_by = ARRAY(
    SELECT person FROM unnest(ARRAY[created_by, changed_by, asked_by]) WITH ORDINALITY AS p (person, place)
    WHERE person IS NOT NULL GROUP BY person ORDER BY min(place));
