"""The Diameter Ro front of Tollgate (RFC 8506, 3GPP TS 32.299): docs/how-to/diameter.md.

A process on the switches' side, like every other switch: it knows the contract, and nothing of how it is kept.

    bytes -> framing -> peer (CER, DWR, DPR) -> requests (a CCR, checked) -> handler
          -> calls | messages | enquiries -> gateway (unary rpcs) -> outcome -> answers (a CCA) -> bytes

It needs the extra `diameter`: `pip install 'tollgate[diameter]'`.
"""
