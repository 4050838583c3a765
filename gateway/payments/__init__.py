"""Payment providers: who charges cards, behind one small protocol (provider.py)."""
