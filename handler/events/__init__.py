"""An event becomes jobs, and outcomes become a reply: one class per envelope."""
