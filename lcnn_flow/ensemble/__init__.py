"""Many flows at once, in lanes, on all devices."""
