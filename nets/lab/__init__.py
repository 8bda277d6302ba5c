"""The interactive lab: the blur, the restoration and the certificate of a photo with depth, in the browser."""
