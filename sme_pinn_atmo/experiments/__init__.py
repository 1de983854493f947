"""Experiments that settled how the network is built: what the physics gains, what the teacher is worth, whether
ATLAS-12 follows vturb. They train, or need networks from which models were held out; nothing at use depends on them."""
