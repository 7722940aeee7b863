"""What the API is, as data: endpoints and their types. The page's reference and the OpenAPI document are made of it."""
