"""The suites that come along, a module each; registered by entry points like everybody's."""
