"""Pictures, tables and reports of benchmark records (docs/record.schema.json); scripts/plot.py is the program."""
