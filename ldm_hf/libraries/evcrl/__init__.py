"""Environments of EvcRL: an electric car that saves energy on a road with curves and traffic lights."""
