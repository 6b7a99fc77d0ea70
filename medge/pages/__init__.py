"""Pages: what each verb shows, as rows for a table and as one object for programs."""
