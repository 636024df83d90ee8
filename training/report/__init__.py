"""What training shows: on the console, as a page with pictures, and as a model card."""
