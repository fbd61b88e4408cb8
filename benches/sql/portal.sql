-- The office: its clients and their policies.
CREATE SCHEMA bench;
-- Numbers kept for fiction (+1 NXX 555 01XX), and when those are used up ones of a country that does not exist (+999).
CREATE FUNCTION bench.phone(n bigint) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    CASE WHEN n <= 80000 THEN '+1' || (200 + (n - 1) / 100) || '55501' || lpad(((n - 1) % 100)::text, 2, '0')
         ELSE '+9990' || lpad((n * 7919 % 100000000)::text, 8, '0') END;
INSERT INTO public.clients (name, phone, email, address)
SELECT (ARRAY['Asha','Bela','Carl','Dina','Emil','Fay','Gita','Hugo','Ines','Jona'])[1 + n % 10] || ' '
       || (ARRAY['Adler','Brook','Court','Dale','Egan','Frost','Gale','Hart','Irons','Joy'])[1 + n / 10 % 10] || ' ' || n,
       bench.phone(n), 'client' || n || '@example.test', n || ' Harbour Lane'
FROM generate_series(1, {clients}) AS n;
INSERT INTO public.policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium, currency,
                             starts_on, ends_on, status)
SELECT 1 + (n - 1) % {clients}, 'POL-' || n, 'motor', 'Invented Mutual', 'a car', 10000, 100, 300, 'EUR',
       current_date - 100, current_date + 265, 'active'
FROM generate_series(1, {policies}) AS n;
