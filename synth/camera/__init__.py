"""What records a scene: lens and pupil with their spread, sensor, tone, distortion, and all of it as a file."""
