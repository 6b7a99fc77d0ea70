"""What a bundle costs on this device and what it lost: measured, compared, judged and kept."""
