"""A trained model as a page on this machine: answers, what they rest on, and corrections that training reads."""
