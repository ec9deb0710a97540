"""JSON records, tables, attachments and corrections."""
