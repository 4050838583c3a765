"""The HTTP side of the back process: webhooks of payment providers, pages for people, health."""
