"""Risks: their values, derivatives and forms of evaluation, and a-priori bounds."""
