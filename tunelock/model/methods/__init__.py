"""What can be trained, and how: a file a method. Nothing here imports torch or PEFT before it is called."""
