-- Second factors' secrets are sealed from now on. The key is the program's, so that the rows are sealed by it and not here.

COMMENT ON COLUMN second_factors.secret IS 'In use: sealed:1: and AES-256-GCM of the base32 secret, bound to the person. Not sealed: written before, until its next use or migration.';
COMMENT ON COLUMN second_factors.new_secret IS 'Being set up; kept as secret is.';
