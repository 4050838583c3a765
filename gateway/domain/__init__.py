"""The rules of prepaid telephony, pure: no network, no store, no SQL, no clock."""
