"""SCAPNet: the method, its gate, the relations among its parts."""
