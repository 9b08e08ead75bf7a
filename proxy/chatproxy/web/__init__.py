"""HTTP only: authentication, validation, one module per API family."""
