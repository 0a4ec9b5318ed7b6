"""Who may call what: credentials, the policy that assigns rights and rates, and its reload."""
