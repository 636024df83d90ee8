"""A model that is fitted already: its file is opened, its sample read, and both become ``Fitted``."""
