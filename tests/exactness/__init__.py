"""Every claim of exactness, measured, and measured again with its mechanism broken."""
