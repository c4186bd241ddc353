"""The result for people: shares for payment, and one page that explains who gets how much credit and why."""
