"""What every room uses and none owns: files, processes, numeric precision, places. It imports no other room."""
