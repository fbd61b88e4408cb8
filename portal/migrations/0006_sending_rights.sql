-- Templates and campaigns are rights of their own: who prepares a campaign is not who releases it.

UPDATE roles SET rights = rights || '{templates,campaigns,release}' WHERE role = 'administrator' AND NOT 'templates' = ANY (rights);
UPDATE roles SET rights = rights || '{campaigns}' WHERE role = 'agent' AND NOT 'campaigns' = ANY (rights);
