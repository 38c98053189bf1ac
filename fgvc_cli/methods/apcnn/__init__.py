"""AP-CNN: the method, its pyramid with gates, its regions of interest."""
