-- What a client says to prove who they are: beside their policy number, their date of birth; a business says its postcode.

ALTER TABLE clients ADD COLUMN date_of_birth date;
COMMENT ON COLUMN clients.date_of_birth IS 'Asked by the bot before it shows anything; where it is empty the bot asks for the postcode of the address.';
