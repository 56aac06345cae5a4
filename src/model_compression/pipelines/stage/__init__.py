"""The one shape that every stage of the flow has."""
