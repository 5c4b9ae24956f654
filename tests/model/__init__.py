"""The core against a small reference model: any order of publish, subscribe, recover, trim, expire and reconnect."""
