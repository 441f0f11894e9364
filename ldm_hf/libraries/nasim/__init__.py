"""NASim (Schwartz & Kurniawati 2019): penetration tests of simulated networks."""
