"""Many flows or descents at once, in lanes and on all devices."""
