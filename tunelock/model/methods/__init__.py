"""What each method trains, and how."""
