-- Messages from the {first}th to the {last}th of {rows}, in the binary form that the log's table reads.
COPY (
    WITH chance AS (
        SELECT n, (hashint8extended(n, 1) & 1048575) / 1048576.0 AS fate, (hashint8extended(n, 2) & 1048575) / 1048576.0 AS whom,
               (hashint8extended(n, 3) & 1048575) / 1048576.0 AS kind, (hashint8extended(n, 4) & 65535)::int AS bits,
               '{now}'::timestamptz - ({rows} - n) * (interval '3 years' / {rows}) AS created_at
        FROM generate_series({first}::bigint, {last}::bigint) AS n
    ), drawn AS (
        SELECT n, bits, created_at, fate < 0.04 AS is_inbound,
               1 + floor({clients} * power(whom, 1.4))::bigint AS client_id,
               CASE WHEN kind < 0.6 THEN 'policy_document' WHEN kind < 0.94 THEN 'renewal_reminder' WHEN kind < 0.9999 THEN 'general'
                    ELSE 'claim_notice' END AS message_type,
               (CASE WHEN fate < 0.04 THEN 'received'
                     WHEN n > {rows} - {pending} AND fate < 0.5 THEN (ARRAY['queued', 'sending', 'sent', 'sent'])[1 + bits % 4]
                     WHEN fate < 0.06 THEN 'undelivered' WHEN fate < 0.08 THEN 'failed' WHEN fate < 0.081 THEN 'canceled'
                     WHEN fate < 0.09 THEN 'sent' WHEN fate < 0.40 THEN 'delivered' ELSE 'read' END) AS status,
               (ARRAY['63016', '63024', '63024', '63049', '63003', '30008'])[1 + bits % 6] AS code
        FROM chance
    ), told AS (
        SELECT *, bench.phone(client_id) AS phone, status IN ('failed', 'undelivered') AS is_failure,
               status IN ('sent', 'delivered', 'read', 'undelivered') AS is_sent, status IN ('delivered', 'read') AS has_arrived,
               CASE WHEN bits % 3 = 0 AND client_id <= {policies} - {clients} THEN client_id + {clients} ELSE client_id END AS policy_id
        FROM drawn
    )
    SELECT n, CASE WHEN is_inbound THEN 'inbound' ELSE 'outbound' END, CASE WHEN is_inbound THEN 'general' ELSE message_type END,
           CASE WHEN is_inbound THEN '+15550100100' ELSE phone END, CASE WHEN is_inbound THEN phone ELSE '+15550100100' END,
           CASE WHEN is_inbound THEN 'Thank you, I have it. When is it due?'
                WHEN message_type = 'policy_document' THEN 'Hello ' || client_id || ', your policy POL-' || policy_id || ' is ready: please keep it safe.'
                ELSE 'Hello ' || client_id || ', your policy POL-' || policy_id || ' is due for renewal soon. Reply to this message with any question.' END,
           status, CASE WHEN status <> 'queued' THEN 'MM' || md5(n::text) END,
           CASE WHEN is_failure THEN code END, CASE WHEN is_failure THEN 'Twilio: the message was not delivered' END,
           CASE WHEN is_sent THEN (-0.0042 - bits % 10 / 10000.0)::numeric(8, 5) END, CASE WHEN is_sent THEN 'USD' END, CASE WHEN is_sent THEN 1 END,
           (ARRAY['anna.admin', 'arjun.agent', 'mia.agent'])[1 + bits % 3], CASE WHEN status <> 'queued' THEN created_at + interval '1 second' END,
           CASE WHEN is_sent THEN created_at + interval '2 seconds' END,
           CASE WHEN has_arrived THEN created_at + make_interval(secs => 3 + bits % 40) END,
           CASE WHEN status = 'read' THEN created_at + make_interval(secs => 60 + bits) END,
           CASE WHEN is_failure OR status = 'canceled' THEN created_at + interval '4 seconds' END, client_id::integer, policy_id::integer, created_at,
           created_at + make_interval(secs => bits)
    FROM told
) TO STDOUT (FORMAT binary)
