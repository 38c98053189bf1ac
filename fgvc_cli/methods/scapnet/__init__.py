"""SCAPNet: the method, its gate and the relations among its parts."""
