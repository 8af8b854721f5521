"""The engine: it takes a plan and ports and runs it on asyncio; it knows no Django and no database. Pure."""
