"""The empirical risk, its derivatives and forms of evaluation, and a-priori bounds."""
