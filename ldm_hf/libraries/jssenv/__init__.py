"""JSSEnv (Tassel et al. 2021): job-shop scheduling."""
